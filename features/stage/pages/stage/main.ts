import { createApp } from 'vue'
import '../shared/theme.css'
import App from './StageApp.vue'

createApp(App).mount('#app')
