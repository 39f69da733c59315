import { createApp } from 'vue'
import '../shared/theme.css'
import App from './ListenApp.vue'

createApp(App).mount('#app')
