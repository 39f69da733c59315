import { createApp } from 'vue'
import '../shared/theme.css'
import './admin.css'
import App from './AdminApp.vue'

createApp(App).mount('#app')
